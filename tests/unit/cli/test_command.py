"""The entry point of all commands: what it prints, and how it ends."""

import signal

import pytest

from jointkd.cli.command import printed, readable_errors
from jointkd.errors import ConfigError


@pytest.fixture
def interrupts():
    """Ctrl-C is handled as before once the test is over."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupts")
def test_a_second_interrupt_while_a_command_ends_is_ignored(capsys):
    with pytest.raises(SystemExit) as caught, readable_errors():
        raise KeyboardInterrupt
    assert caught.value.code == 130
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    assert "stopped; what was saved is kept" in capsys.readouterr().err


def test_help_is_printed_whatever_else_is_given():
    assert "time and memory per training step" in printed("bench", ["--help"])
    assert "seed: 3" in printed("train", ["seed=3", "-h"])


def test_a_run_with_valid_options_prints_nothing_in_advance():
    assert printed("train", ["seed=3"]) is None
    assert printed("train", ["-m", "seed=3,4"]) is None


def test_help_with_an_option_that_cannot_be_read_says_how_to_write_it():
    with pytest.raises(ConfigError, match="painn cannot be read; write student=painn"):
        printed("train", ["--help", "painn"])
    with pytest.raises(ConfigError, match="help cannot be read; write --help"):
        printed("train", ["help"])
