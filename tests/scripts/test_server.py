import json
import sys

import pytest

pytest.importorskip("uvicorn")


@pytest.mark.slow
@pytest.mark.shell
def test_the_server_is_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Every figure is there, and no text fails, also beside idle connections."""
    import server as script

    words = "--hidden 16 --streams 4 --length 50 --clients 3 --chars 9 --seconds 0.2 --idle 20"
    monkeypatch.setattr(sys, "argv", ["_", *words.split()])
    script.main()
    report = json.loads(capsys.readouterr().out)
    assert report["share"] > 0
    for key in ("clients", "beside_idle_connections"):
        assert report[key]["errors"] == 0
        assert report[key]["texts"] >= 3
        assert 0 < report[key]["p50_ms"] <= report[key]["p99_ms"]


@pytest.mark.slow
@pytest.mark.shell
def test_random_requests_do_no_harm(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """No answer is a fault of the server's, and answers of both kinds are among them."""
    import fuzz_server as script

    monkeypatch.setattr(sys, "argv", ["_", "--requests", "300", "--hidden", "16"])
    script.main()
    report = json.loads(capsys.readouterr().out)
    assert report["faults"] == []
    assert min(report["statuses"]["200"], report["statuses"]["400"]) > 30
