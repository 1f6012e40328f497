"""Promotions one after another under a constant load of /predict: what a swap of versions costs those who wait for an answer."""

import itertools
import json
import re
import tempfile
import threading
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import torch
from rich.console import Console

from benchmarks.row import Row
from benchmarks.servers import ours
from demo.process import Process, wait_until
from demo.stack import REPOSITORY
from preference.labelling.pairs import PreferencePair
from preference.models.pretrained import quiet_transformers
from preference.projects.folder import ProjectFolder
from preference.projects.versions import Versions
from preference.report_card.card import ReportCard
from preference.reward_model.extractors import Extractors
from preference.reward_model.model import FrozenRewardModel
from preference.reward_model.probe import load_version, take_probe
from trainer.training.recipes import RECIPES
from trainer.training.train import train_challenger
from trainer.training.trained import TrainingContext

LABEL_CONFIG = (REPOSITORY / "label_config.xml").read_text(encoding="utf-8")
TASKS: list[dict[str, Any]] = [
    {"id": n, "data": {"prompt": f"Tell me about {topic}.", "answer1": f"{topic} {topic} no.", "answer2": f"Look at {topic} closely."}}
    for n, topic in enumerate(("tea", "rain", "chess", "lamps", "bees", "maps", "soup", "rivers"), 1)
]  # fmt: skip
_NUM_CLIENTS = 4
_ANSWERS_IN_A_ROW = 12  # for each worker: so many answers by the new version, on connections of their own, and all serve it


@dataclass
class Ride:
    """What clients got while versions were promoted. Times are in seconds."""

    num_answers: int = 0
    failures: list[str] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)  # answers whose rewards are not those of the version they name
    quiet: list[float] = field(default_factory=list)  # seconds of each answer while nothing was promoted
    swapping: list[float] = field(default_factory=list)  # and while versions were
    following: list[float] = field(default_factory=list)  # from each promotion until every worker served it
    growth_mb: float = 0.0  # of all workers' memory together, from the first promotions to the last


def run(console: Console) -> list[Row]:
    """200 promotions with 1, 2 and 4 workers."""
    quiet_transformers()
    rows: list[Row] = []
    for workers in (1, 2, 4):
        with tempfile.TemporaryDirectory(prefix="pairloop-bench-") as scratch:
            model_dir = Path(scratch) / "models"
            folder, versions = _published(model_dir, num_versions=20)
            server = ours(model_dir, model_dir, WORKERS=str(workers), LOG_LEVEL="WARNING")
            ride = promote_under_load(folder, versions, server=server, workers=workers, num_promotions=200)
        quiet, swapping = (float(np.quantile(seconds, 0.99)) for seconds in (ride.quiet, ride.swapping))
        what = f"200 promotions, {workers} worker{'s' * (workers > 1)}"
        console.print(f"reload: {what}: {ride.num_answers} answers, failures {ride.failures[:3]}, torn {ride.torn[:3]}")
        rows += [
            Row(f"failed or torn answers, {what}", len(ride.failures) + len(ride.torn), f"of {ride.num_answers}"),
            Row(f"slowest until every worker served it, {what}", max(ride.following), "s"),
            Row(f"memory growth, {what}", ride.growth_mb, "MB"),
            Row(f"p99 of /predict, {what}", swapping, "s", quiet, "nothing promoted"),
        ]
    return rows


def promote_under_load(
    folder: ProjectFolder,
    versions: Sequence[str],
    *,
    server: Process,
    workers: int,
    num_promotions: int,
    quiet_seconds: float = 10,
) -> Ride:
    """Runs `server`, which has so many workers over the folder's MODEL_DIR, keeps asking it, and promotes one version after another, round and round.

    Raises:
        StackError: the server did not start, or ended.
    """
    ride, rewards = Ride(), expected_rewards(folder, versions, model_dir=folder.path.parent.parent)
    url = f"http://127.0.0.1:{server.environ['PORT']}"
    Versions(folder).promote(versions[0])
    stop, into = threading.Event(), [ride.quiet]
    clients = [
        threading.Thread(target=_ask, args=(url, ride, rewards, stop, into), kwargs={"project_id": folder.project_id})
        for _ in range(_NUM_CLIENTS)
    ]
    server.start()
    try:
        server.wait_until_up(timeout_seconds=300)
        _wait_until_all_serve(url, folder.project_id, versions[0], workers=workers)
        for client in clients:
            client.start()
        until = time.monotonic() + quiet_seconds
        while time.monotonic() < until:  # asked as often as later, so that nothing but the promotions differs
            _follow(url, folder.project_id, versions[0], num_answers=_ANSWERS_IN_A_ROW * workers)
        into[0] = ride.swapping
        before = 0.0
        for n, version in enumerate(itertools.islice(itertools.cycle([*versions[1:], versions[0]]), num_promotions)):
            Versions(folder).promote(version)
            ride.following.append(_follow(url, folder.project_id, version, num_answers=_ANSWERS_IN_A_ROW * workers))
            if n == num_promotions // 10:  # every worker has met most versions and allocated what it needs
                before = _memory_mb(server.pid)
        ride.growth_mb = _memory_mb(server.pid) - before
        stop.set()
        for client in clients:
            client.join()
    finally:
        stop.set()
        server.stop()
    return ride


def expected_rewards(
    folder: ProjectFolder, versions: Sequence[str], *, model_dir: Path
) -> Mapping[str, list[tuple[float, float]]]:
    """Each version's own rewards for the answers of TASKS."""
    extractors, device = Extractors(model_dir, torch.device("cpu")), torch.device("cpu")
    prompts = [task["data"]["prompt"] for task in TASKS for _ in range(2)]
    answers = [task["data"][name] for task in TASKS for name in ("answer1", "answer2")]
    by_version = {}
    for version in versions:
        rewards = load_version(folder, version, extractor=extractors, device=device).score(prompts, answers).reshape(-1, 2)
        by_version[version] = [(left, right) for left, right in rewards.tolist()]
    return by_version


def _ask(
    url: str, ride: Ride, rewards: Mapping[str, list[tuple[float, float]]], stop: threading.Event, into: list[list[float]],
    *, project_id: int,
) -> None:  # fmt: skip
    body = {"tasks": TASKS, "project": f"{project_id}.1", "label_config": LABEL_CONFIG, "params": {}}
    with httpx.Client(timeout=60) as client:
        while not stop.is_set():
            started = time.perf_counter()
            try:
                results = client.post(f"{url}/predict", json=body).raise_for_status().json()["results"]
            except (httpx.HTTPError, ValueError, KeyError) as error:
                ride.failures.append(f"{type(error).__name__}: {error}")
                continue
            into[0].append(time.perf_counter() - started)
            ride.num_answers += 1
            if problem := torn(results, rewards):
                ride.torn.append(problem)


def torn(results: Sequence[Any], rewards: Mapping[str, list[tuple[float, float]]]) -> str | None:
    """What is wrong with the results for TASKS: one version throughout, and the rewards that it gives; None if nothing is."""
    if len(results) != len(TASKS) or not all(results):
        return f"{len(results)} results, {sum(map(bool, results))} with a prediction"
    versions = {result["model_version"] for result in results}
    if len(versions) != 1:
        return f"versions {sorted(versions)} in one answer"
    (version,) = versions
    for result, (left, right) in zip(results, rewards[version], strict=True):
        values = [region["value"]["number"] for region in result["result"] if region["type"] == "number"]
        if not np.allclose(values, (left, right), atol=2e-3):
            return f"{version} gives {left:.4f} and {right:.4f}, the answer says {values}"
    return None


def _follow(url: str, project_id: int, version: str, *, num_answers: int, limit_seconds: float = 60) -> float:
    """Seconds until so many answers in a row name that version, each on a connection of its own."""
    body = json.dumps({"tasks": TASKS[:1], "project": project_id, "label_config": LABEL_CONFIG}).encode()
    request = urllib.request.Request(f"{url}/predict", body, {"Content-Type": "application/json"})  # noqa: S310
    started, in_a_row, first = time.perf_counter(), 0, 0.0
    while in_a_row < num_answers:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - a client of httpx costs more than the answer
            (result,) = json.load(answer)["results"]
        in_a_row = in_a_row + 1 if result and result["model_version"] == version else 0
        first = time.perf_counter() if in_a_row == 1 else first
        if time.perf_counter() - started > limit_seconds:
            raise TimeoutError(f"Not every worker served {version} after {limit_seconds:.0f} s.")
    return first - started


def _wait_until_all_serve(url: str, project_id: int, version: str, *, workers: int) -> None:
    """Returns when each worker serves that version, as /metrics says: one that loads slowly may get none of many requests."""
    line = re.compile(rf'^pairloop_serving_info{{pid="\d+",project="{project_id}",version="{re.escape(version)}"}} 1\.0$', re.M)
    wait_until(
        lambda: len(line.findall(httpx.get(f"{url}/metrics", timeout=60).text)) == workers,
        timeout_seconds=120, what=f"every worker to serve {version}",
    )  # fmt: skip


def _memory_mb(pid: int) -> float:
    """Resident memory of the server's workers."""
    return sum(worker.memory_info().rss for worker in psutil.Process(pid).children(recursive=True)) / 2**20


def _published(model_dir: Path, *, num_versions: int) -> tuple[ProjectFolder, list[str]]:
    """Versions of one trained model, each with weights a tenth larger than the last one's, so that no two agree on a reward."""
    converted = REPOSITORY / ".cache" / "bench-models" / "embedded"
    converted.mkdir(parents=True, exist_ok=True)
    model_dir.mkdir()
    (model_dir / "embedded").symlink_to(converted)
    folder, extractors = ProjectFolder(model_dir, 1), Extractors(model_dir, torch.device("cpu"))
    pairs = [PreferencePair(task["data"]["prompt"], task["data"]["answer2"], task["data"]["answer1"]) for task in TASKS]
    with tempfile.TemporaryDirectory() as scratch:
        model = train_challenger(pairs, RECIPES["frozen"], Path(scratch), TrainingContext("embedded", extractors)).model
        assert isinstance(model, FrozenRewardModel)
        versions = []
        for _ in range(num_versions):
            model.head.weight.mul_(1.1)
            model.save(Path(scratch))
            card = ReportCard(1, "frozen", "embedded", 8, promoted=True, reason="made by a benchmark", probe=take_probe(model))
            versions.append(Versions(folder).publish(Path(scratch), card))
    return folder, versions
