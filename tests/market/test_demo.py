"""The demo lays out real data and a configuration, and leaves what is there alone."""

from __future__ import annotations

from runstate.market.config import load_config
from runstate.market.demo import write_demo
from tests.market.world import digests


def test_the_demo_is_the_london_breakout_of_the_contract(tmp_path, eurusd_file):
    path = write_demo(tmp_path / "demo")

    config = load_config(path)
    (session,) = config.sessions
    assert (session.tz, session.start.text, session.slots[0].text, session.close.text) == (
        "Europe/London", "00:00", "07:00", "21:00",
    )  # fmt: skip
    assert config.instruments["EURUSD"].target_ticks == 200
    assert (tmp_path / "demo/raw/eurusd-1h-2017.csv").read_bytes() == eurusd_file.read_bytes()


def test_the_file_explains_itself_and_what_it_comments_out_works(tmp_path):
    text = write_demo(tmp_path).read_text()

    lines = [line for line in text.splitlines() if line]
    assert sum("#" in line for line in lines) > len(lines) / 2
    optional = [line for line in lines if line.startswith("# ") and " = " in line]
    assert [line.split()[1] for line in optional] == ["as_of", "calendar"]
    for line in optional:
        text = text.replace(line, line.removeprefix("# "))
    (tmp_path / "all.toml").write_text(text)
    config = load_config(tmp_path / "all.toml")
    assert (config.as_of_us, config.sessions[0].calendar) == (1_498_780_800_000_000, "XNYS")


def test_laying_it_out_again_changes_nothing(tmp_path):
    path = write_demo(tmp_path)
    path.write_text(path.read_text().replace("0.0020", "0.0030"))
    before = digests(tmp_path)

    assert write_demo(tmp_path) == path
    assert digests(tmp_path) == before
