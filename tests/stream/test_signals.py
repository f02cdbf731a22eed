from __future__ import annotations

import contextlib
import signal

import pytest

from stream.signals import ENDING, IGNORED, SignalPolicy, Stopped


@pytest.mark.parametrize("number", ENDING)
def test_an_ending_signal_asks_once_and_the_next_one_means_it(number: signal.Signals) -> None:
    before = {each: signal.signal(each, signal.SIG_DFL) for each in ENDING}
    asked: list[int] = []
    try:
        with SignalPolicy() as policy:
            policy.then(lambda: asked.append(number))
            signal.raise_signal(number)
            assert asked == [number]
            assert {signal.getsignal(each) for each in ENDING} == {signal.SIG_DFL}
        assert {signal.getsignal(each) for each in ENDING} == {signal.SIG_DFL}
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@pytest.mark.parametrize("number", ENDING)
def test_before_there_is_a_loop_what_is_open_is_closed(number: signal.Signals) -> None:
    before = signal.signal(number, signal.SIG_DFL)
    closed: list[str] = []

    def assemble() -> None:
        with SignalPolicy(), contextlib.ExitStack() as stack:
            stack.callback(closed.append, "socket")
            signal.raise_signal(number)

    try:
        with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else Stopped):
            assemble()
    finally:
        signal.signal(number, before)
    assert closed == ["socket"]


def test_a_signal_without_a_meaning_is_ignored_and_named(capfd: pytest.CaptureFixture[str]) -> None:
    with SignalPolicy() as policy:
        policy.then(lambda: pytest.fail("it was asked to end"))
        for number in IGNORED:
            signal.raise_signal(number)
    assert capfd.readouterr().err == "event=signal_ignored signal=SIGUSR1\nevent=signal_ignored signal=SIGUSR2\n"


def test_nohup_is_kept() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with SignalPolicy():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_where_settings_can_be_read_anew_a_hangup_asks_for_that(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    terminal = iter([False, True, True, True, False])
    monkeypatch.setattr("stream.signals._has_terminal", lambda: next(terminal))
    for _ in range(2):  # without a terminal, then with one that stays
        with SignalPolicy() as policy:
            policy.then(lambda: asked.append("stop"), lambda: asked.append("reload"))
            signal.raise_signal(signal.SIGHUP)
            assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
    assert asked == ["reload", "reload"]
    with SignalPolicy() as policy:  # with one that was closed
        policy.then(lambda: asked.append("stop"), lambda: asked.append("reload"))
        signal.raise_signal(signal.SIGHUP)
    assert asked[2:] == ["stop"]
