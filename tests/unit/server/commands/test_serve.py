"""What `smallfirst serve` says before it serves."""

from __future__ import annotations

from pathlib import Path

from router.config.models import Timeouts
from server.commands.serve import shutdown_note
from server.settings import Settings
from tests.support.fakes import config, large, model


def test_it_says_which_requests_a_shutdown_cuts_off() -> None:
    patient = config(model(timeouts=Timeouts(total_s=20)), large(timeouts=Timeouts(total_s=600)))
    line = shutdown_note(patient, Settings(Path("/state"), shutdown_grace_s=60))
    for words in ("waits 60 s", "--shutdown-grace-s", "answers of llm may take 600 s", "timeouts.total_s"):
        assert words in line
    assert shutdown_note(patient, Settings(Path("/state"), shutdown_grace_s=600)) == ""
