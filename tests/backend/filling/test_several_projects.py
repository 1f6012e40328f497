import threading

from tests.support.filling_house import EMPTY, RENAMED, House

# Several projects


def test_two_projects_keep_their_own_label_configs(house: House) -> None:
    other = House(house.studio, house.settings, project_id=house.studio.add_project(RENAMED))
    ours = house.add_prompts(1)[0]
    (theirs,) = other.add({"question": "Q", "left": "", "right": "", **EMPTY})

    house.filler().look(threading.Event())

    data = house.data(theirs)
    assert data["left"].endswith("of: Q") and data["right"].endswith("of: Q")
    assert (data["answer1"], data["answer2"]) == ("", "")
    assert house.is_answered(ours)


def test_a_pass_ends_after_a_minute_so_that_other_projects_have_their_turn(house: House) -> None:
    now = [0.0]
    tasks = house.add_prompts(60)
    other = House(house.studio, house.settings)
    (theirs,) = other.add({"prompt": "Q", **EMPTY})
    filler = house.filler(clock=lambda: now[0])
    house.generator.meanwhile = lambda prompts: now.__setitem__(0, now[0] + 20)

    filler.look(threading.Event())
    assert 0 < sum(house.is_answered(task) for task in tasks) < len(tasks)
    assert house.is_answered(theirs)
    for _ in range(9):  # without being asked
        filler.look(threading.Event())

    assert house.is_answered(*tasks)
    assert len(house.generator.jobs) == 61


def test_a_project_alone_has_one_pass_until_it_is_done(house: House) -> None:
    now = [0.0]
    tasks = house.add_prompts(60)
    filler = house.filler(clock=lambda: now[0])
    house.generator.meanwhile = lambda prompts: now.__setitem__(0, now[0] + 20)

    filler.look(threading.Event())

    assert house.is_answered(*tasks)


def test_a_project_that_is_connected_during_a_long_pass_has_its_turn(house: House) -> None:
    now = [0.0]
    tasks = house.add_prompts(60)
    others: list[House] = []

    def connect(prompts: list[str]) -> None:
        now[0] += 20
        if "Prompt 9" in prompts:
            others.append(House(house.studio, house.settings))

    house.generator.meanwhile = connect
    filler = house.filler(clock=lambda: now[0])
    filler.look(threading.Event())

    assert others
    assert 0 < sum(house.is_answered(task) for task in tasks) < len(tasks)
