"""Everything that Pairloop raises on purpose.

PairloopError
├── SettingsError          a setting is missing or wrong (all of them in one message)
├── LayoutError            a label config that Pairloop cannot serve
│   └── NoComparison       one that collects answers that people write, and compares none
├── PromptFileError        a file of prompts that cannot be read as one
├── StudioError            Label Studio refused or failed
│   ├── StudioUnreachable  it did not answer; the same call may work later
│   │   └── StudioFailing  it answered 500 again and again, perhaps to this call alone
│   ├── StudioKeyError     it does not accept LABEL_STUDIO_API_KEY
│   └── StudioNotFound     the project, task or backend does not exist any more
├── ModelError             weights or a tokenizer that cannot be loaded or used
├── RegistryError          the folder of versions cannot be read or written as asked
│   ├── VersionRefused     a published version that is not what its card says
│   └── ChampionChanged    the champion is another than the one that a version was judged against
├── TrainingError          a round that could not train
│   └── CannotLearn        a generator that cannot learn as things are: too few judgements, or a base or an engine for which it is not made
└── ExportError            judgements that cannot be written to the named file
"""


class PairloopError(Exception):
    """The root: its message says what, which one, and what to do."""


class SettingsError(PairloopError):
    """A setting is missing or wrong; the message has a line for each."""


class LayoutError(PairloopError):
    """A label config that Pairloop cannot serve."""


class NoComparison(LayoutError):
    """A label config that collects answers that people write, and compares none."""


class PromptFileError(PairloopError):
    """A file of prompts that cannot be read as one."""


class StudioError(PairloopError):
    """Label Studio refused or failed."""

    is_of_one_call = True  # whether other calls may do well meanwhile


class StudioUnreachable(StudioError):
    """Label Studio did not answer; the same call may work later."""

    is_of_one_call = False


class StudioFailing(StudioUnreachable):
    """Label Studio answered 500 again and again. It may be out of order, or fail at what this call brings."""

    is_of_one_call = True


class StudioKeyError(StudioError):
    """Label Studio does not accept LABEL_STUDIO_API_KEY."""

    is_of_one_call = False


class StudioNotFound(StudioError):
    """The project, task or backend does not exist any more."""


class ModelError(PairloopError):
    """Weights or a tokenizer that cannot be loaded or used."""


class RegistryError(PairloopError):
    """The folder of versions cannot be read or written as asked."""


class VersionRefused(RegistryError):
    """A published version that is not what its card says."""


class ChampionChanged(RegistryError):
    """The champion is another than the one that a version was judged against."""


class TrainingError(PairloopError):
    """A round that could not train."""


class CannotLearn(TrainingError):
    """A generator that cannot learn as things are: too few judgements, or a base or an engine for which that is not made."""


class ExportError(PairloopError):
    """Judgements that cannot be written to the named file."""
