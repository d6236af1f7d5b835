"""What the pool remembers of actions that have no container."""

from invoker.pool.actions import REMEMBERED, ActionContainers, KnownActions, WarmKey
from tests.core.pool.workshop import a_container, a_task

EXECUTABLE, _ = a_task()


def key(number: int) -> WarmKey:
    return str(number).encode(), "guest", None


def asked_for(actions: KnownActions, number: int) -> ActionContainers:
    return actions.of(key(number), EXECUTABLE)


def with_a_container(action: ActionContainers) -> ActionContainers:
    action.containers.add(a_container(action))
    return action


def forget_the_oldest(actions: KnownActions) -> None:
    """Have as many actions lose their container as are remembered."""
    for number in range(1000, 1000 + REMEMBERED):
        actions.settle(asked_for(actions, number))


def test_an_action_is_remembered_without_containers() -> None:
    actions = KnownActions()
    action = asked_for(actions, 1)
    actions.settle(action)

    assert actions.get(key(1)) is action
    assert asked_for(actions, 1) is action


def test_the_one_that_has_been_without_for_longest_is_forgotten_when_there_are_too_many() -> None:
    actions = KnownActions()
    for number in (1, 2, 1):
        actions.settle(asked_for(actions, number))
    for number in range(1000, 1000 + REMEMBERED - 1):
        actions.settle(asked_for(actions, number))

    assert (actions.get(key(1)) is None, actions.get(key(2)) is None) == (False, True)
    assert len(actions.values()) == REMEMBERED


def test_one_with_a_container_is_never_forgotten() -> None:
    actions = KnownActions()
    actions.settle(asked_for(actions, 1))
    action = with_a_container(asked_for(actions, 1))
    actions.settle(action)
    forget_the_oldest(actions)

    assert actions.get(key(1)) is action


def test_one_that_was_forgotten_while_its_last_container_was_in_use_takes_nobodys_place() -> None:
    actions = KnownActions()
    old = asked_for(actions, 1)
    actions.settle(old)  # its container takes nobody else
    forget_the_oldest(actions)
    new = with_a_container(asked_for(actions, 1))

    actions.settle(old)  # and is gone
    forget_the_oldest(actions)

    assert old is not new
    assert actions.get(key(1)) is new
