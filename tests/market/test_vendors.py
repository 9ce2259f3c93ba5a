"""The vendors' layouts beyond the simple ones, as whole files: what is in them, what their names say, how they are packed."""

from __future__ import annotations

import gzip
import io
import zipfile
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstate import Fatal
from runstate.market.cells import half_day_stamp
from runstate.market.dialects import Naming, layout_of
from runstate.market.rows import Block, _fast, _lines, _slow, read_rows
from runstate.market.settings import Custom
from tests.market.conftest import EXAMPLE
from tests.market.test_dialects import read
from tests.market.world import FakeContext, run_stages

SOURCE = """\
[[source]]
files = "{files}"
dialect = "{dialect}"
interval = "1m"
tz = "{tz}"
stamp = "open"
{more}
"""
REST = """\
{instruments}
[[session]]
name = "S1"
tz = "UTC"
start = "09:30"
slots = ["10:00"]
close = "16:00"
"""
INSTRUMENT = '[instrument.{name}]\ntick = 0.01\ntarget = 1.0\ntz = "{tz}"\n'


def translate(folder: Path, files: dict[str, bytes], dialect: str, *, names=("X",), tz="UTC", more="") -> FakeContext:
    for name, content in files.items():
        path = folder / "raw" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    config = folder / "market.toml"
    source = SOURCE.format(files="raw/**/*.*", dialect=dialect, tz=tz, more=more)
    config.write_text(source + REST.format(instruments="".join(INSTRUMENT.format(name=n, tz=tz) for n in names)))
    return run_stages(config, 1)


def bars(folder: Path, instrument: str) -> pl.DataFrame:
    return pl.concat(pl.read_parquet(path) for path in sorted((folder / "out/bars" / instrument).rglob("*.parquet")))


def zipped(members: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return buffer.getvalue()


def test_a_metatrader_row_is_read():
    rows = read("metatrader", "2017.01.02,00:05,1.05,1.06,1.04,1.055,123", "2017.01.02,00:06:30,1,1,1,1,0")

    assert [(r["stamp"], r["close"], r["volume"], r["parsed"]) for r in rows] == [
        (datetime(2017, 1, 2, 0, 5), 1.055, 123.0, True),
        (datetime(2017, 1, 2, 0, 6, 30), 1.0, 0.0, True),
    ]


@pytest.mark.parametrize("stamp", ["1577836800000", "1577836800000000"])
@pytest.mark.parametrize("header", [[], ["open_time,open,high,low,close,volume,close_time,q,n,tb,tq,ignore"]])
def test_a_binance_row_counts_milliseconds_or_microseconds(stamp, header):
    row = f"{stamp},7195.24,7196.25,7178.64,7179.78,95.509133,1577836859999,686317.13,688,32.77,235537.29,0"

    (found,) = read("binance-kline", *header, row)

    assert (found["stamp"], found["offset_s"], found["low"], found["parsed"]) == (
        datetime(2020, 1, 1), 0, 7178.64, True,
    )  # fmt: skip


def test_a_cryptodatadownload_file_has_an_address_a_header_and_half_days():
    rows = read(
        "cryptodatadownload",
        "https://www.CryptoDataDownload.com",
        "Date,Symbol,Open,High,Low,Close,Volume BTC,Volume USD",
        "2020-05-01 12-PM,BTCUSD,8620,8647,8610,8640,123.4,1000000",
        "2020-05-01 12-AM,BTCUSD,8600,8630,8590,8620,12.5,1000",
        "2020-05-01 03:00:00,BTCUSD,8600,8630,8590,8620,12.5,1000",
    )

    assert [(r["stamp"].hour, r["open"], r["volume"], r["parsed"]) for r in rows] == [
        (12, 8620, 123.4, True),
        (0, 8600, 12.5, True),
        (3, 8600, 12.5, True),
    ]


@pytest.mark.parametrize("hour", range(24))
def test_every_hour_has_its_half_day_name(hour):
    text = datetime(2020, 1, 2, hour).strftime("%Y-%m-%d %I-%p")
    stamp, _ = half_day_stamp(pl.col("x"))

    assert pl.DataFrame({"x": [text]}).select(stamp).item() == datetime(2020, 1, 2, hour)


def test_a_newest_first_file_is_in_its_order(tmp_path):
    """Descending is how the vendor writes: only a row that goes up is out of order. The symbol names the instrument."""
    head = b"https://www.CryptoDataDownload.com\nUnix,Date,Symbol,Open,High,Low,Close,Volume BTC\n"
    rows = b"".join(b"0,2020-05-01 00:0%d:00,BTC/USD,1,2,1,2,5\n" % minute for minute in (5, 4, 2, 3, 1))

    outputs = translate(tmp_path, {"x.csv": head + rows}, "cryptodatadownload", names=["BTCUSD"]).finished["translator"]

    assert (outputs["rows_in"], outputs["rows_out"], outputs["rows_out_of_order"]) == (5, 5, 1)
    assert bars(tmp_path, "BTCUSD")["timestamp"].dt.minute().to_list() == [1, 2, 3, 4, 5]


def test_a_custom_layout_is_spelled_out():
    custom = Custom(
        ("date", "time", "-", "open", "high", "low", "close", "volume"), ";", "%d/%m/%y %H.%M", None, 1, True, 100.0
    )

    (row,) = read("custom", "Datum;Zeit;x;o;h;l;c;v", "31/12/17;23.59;?;10050,5;10100;10000;10075;", custom=custom)

    assert (row["stamp"], row["open"], row["volume"], row["parsed"]) == (
        datetime(2017, 12, 31, 23, 59), 100.505, None, True,
    )  # fmt: skip


def test_a_custom_source_is_read_from_the_configuration(tmp_path):
    more = 'instrument = "X"\n[source.custom]\ncolumns = ["timestamp", "open", "high", "low", "close"]\nepoch = "s"\n'
    more += 'separator = "\\t"'

    translate(tmp_path, {"x.tsv": b"1577836800\t1\t2\t1\t2\n"}, "custom", more=more)

    assert bars(tmp_path, "X").row(0)[:6] == (datetime(2020, 1, 1, tzinfo=UTC), 1.0, 2.0, 1.0, 2.0, None)


def test_a_lean_future_zip_holds_several_expiries_each_its_own_instrument(tmp_path):
    """A real one; futures' prices are plain."""
    zips = {p.name: p.read_bytes() for p in (EXAMPLE / "raw/lean/future/cme/minute/es").glob("2013100[78]_trade.zip")}

    context = translate(tmp_path, zips, "lean", names=["ES"], tz="America/New_York")

    outputs = context.finished["translator"]
    assert (outputs["rows_in"], outputs["rows_out"], outputs["files_in"]) == (3392, 3392, 7)
    counts = {p.name: bars(tmp_path, p.name).height for p in (tmp_path / "out/bars").iterdir()}
    assert counts == {"ES201312": 2716, "ES201403": 667, "ES201406": 8, "ES201409": 1}
    first = bars(tmp_path, "ES201312").row(0)
    assert first[:6] == (datetime(2013, 10, 7, 4, tzinfo=UTC), 1676.5, 1676.5, 1676.5, 1676.5, 9.0)
    assert first[8] == "raw/20131007_trade.zip/20131007_es_minute_trade_201312.csv"


def test_a_lean_equity_price_is_in_ten_thousandths(tmp_path):
    name = "20131007_trade.zip"
    content = (EXAMPLE / "raw/lean/equity/usa/minute/spy" / name).read_bytes()

    translate(tmp_path, {f"equity/usa/minute/spy/{name}": content}, "lean", names=["SPY"], tz="America/New_York")

    found = bars(tmp_path, "SPY")
    assert found.height == 828
    assert found["close"].is_between(160, 180).all()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        raw = archive.read(archive.namelist()[0]).decode().split()
    assert found["close"].to_list() == [int(line.split(",")[4]) / 10_000 for line in raw]
    busiest = found.sort("volume").tail(40)["timestamp"].dt.convert_time_zone("America/New_York")
    assert min(str(t)[11:16] for t in busiest) >= "09:30"


def test_a_lean_quote_is_the_middle_of_its_sides():
    naming = Naming(date(2013, 10, 7), is_quote=True, divisor=10_000.0)
    rows = read(
        "lean",
        "34200000,1000000,1010000,990000,1005000,5,1000200,1010200,990200,1005200,7",
        "34260000,,,,,0,1000200,1010200,990200,1005200,7",
        "34320000,,,,,0,,,,,0",
        "34380000,1000000,x,990000,1005000,5,1000200,1010200,990200,1005200,7",
        "86400000,1000000,1010000,990000,1005000,5,1000200,1010200,990200,1005200,7",
        naming=naming,
    )

    assert [(r["open"], r["close"], r["volume"], r["parsed"]) for r in rows[:2]] == [
        (100.01, 100.51, None, True), (100.02, 100.52, None, True),
    ]  # fmt: skip
    assert rows[0]["stamp"] == datetime(2013, 10, 7, 9, 30)
    assert [r["parsed"] for r in rows[2:]] == [False, False, False]


MEMBER = "20131007_es_minute_trade_201312.csv"
ROW = "34200000,1,2,1,2,5\n"


@pytest.mark.parametrize(
    ("name", "content", "reason", "why"),
    [
        ("20131008_trade.zip", zipped({MEMBER: ROW}), "wrong_name", f"the zip is named 20131008 and holds '{MEMBER}'"),
        ("b.zip", zipped({"x.csv": ROW}), "wrong_name", "'x.csv' is not named as lean does, such as " + MEMBER),
        ("b.zip", zipped({MEMBER.replace("1007", "1399"): ROW}), "wrong_name", "names no date"),
        ("b.zip", zipped({MEMBER.replace("minute", "second"): ROW}), "wrong_name", "holds second bars, the source says 1m"),
        ("b.zip", zipped({MEMBER.replace("es", "nq"): ROW}), "unknown_instrument",
         "it holds 'NQ201312', which has no [instrument.NQ201312]"),
        ("b.zip", zipped({MEMBER.replace("trade", "quote"): ROW}), "mixed_kinds", "these are quotes beside trades"),
        ("b.zip", zipped({MEMBER: ROW})[:-30], "unreadable_archive", "the archive does not open"),
        ("b.zip", zipped({}), "unreadable_archive", "the archive holds no file"),
        ("b.zip", (zipped({MEMBER: ROW}))[:60] + b"!!!!" + zipped({MEMBER: ROW})[64:], "unreadable_archive",
         "the archive does not open"),
    ],
)  # fmt: skip
def test_a_bad_zip_is_quarantined_and_the_others_go_on(tmp_path, name, content, reason, why):
    good = zipped({MEMBER.replace("07", "04"): ROW})

    context = translate(tmp_path, {"a.zip": good, name: content}, "lean", names=["ES"])

    outputs = context.finished["translator"]
    assert (outputs["rows_out"], outputs["files_quarantined"]) == (1, 1)
    assert list(outputs["rows_quarantined_by_reason"]) == [reason]
    assert why in context.lines[0]


@pytest.mark.parametrize(
    ("dialect", "name", "content", "why"),
    [
        ("lean", "x.zip", zipped({MEMBER.replace("es", "nq"): ROW}), "which has no [instrument.NQ201312]"),
        ("binance-kline", "klines.csv", b"1\n", "the name does not begin as BTCUSDT-1m-2020 does; set instrument"),
        ("cryptodatadownload", "x.csv", b"u\nDate,Open\n", "no column 'symbol' names the instrument; set instrument"),
    ],
)
def test_a_file_whose_instrument_nobody_knows_fails_where_the_source_says_so(tmp_path, dialect, name, content, why):
    with pytest.raises(Fatal, match=r"raw/.*:1: .*") as refused:
        translate(tmp_path, {name: content}, dialect, names=["ES"], more='on_bad_file = "fail"')

    assert why in str(refused.value)


def test_a_binance_file_names_its_instrument(tmp_path):
    row = b"1577836800000,1,2,1,2,5,0,0,0,0,0,0\n"

    translate(tmp_path, {"BTCUSDT-1m-2020-01.csv.gz": gzip.compress(row)}, "binance-kline", names=["BTCUSDT"])

    assert bars(tmp_path, "BTCUSDT").height == 1


def test_a_file_of_two_sources_is_refused(tmp_path):
    """Its rows would be there twice."""
    again = 'instrument = "X"\n' + SOURCE.format(files="raw/*.csv", dialect="iso", tz="UTC", more='instrument = "X"')

    with pytest.raises(Fatal, match=r"matches raw/x\.csv, which is a file of 'raw/\*\*/\*\.\*' already; narrow one"):
        translate(tmp_path, {"x.csv": b"timestamp,open,high,low,close\n"}, "iso", more=again)


def test_a_file_that_grows_while_it_is_read_is_quarantined(tmp_path):
    """The next run finds it complete."""
    head = b"timestamp,open,high,low,close\n"
    files = {"a.csv": head + b"2020-01-01 00:00,1,2,1,2\n", "b.csv": head + b"2020-01-02 00:00,1,2,1,2\n"}

    class Growing(FakeContext):
        def progress(self, done, total=None, unit=None, message=None):
            if message == "reading raw/b.csv":
                with (tmp_path / "raw/b.csv").open("ab") as file:
                    file.write(b"2020-01-02 00:01,1,2,1,2\n")

    from runstate.market.pipeline import translator

    translate(tmp_path, files, "iso", more='instrument = "X"')
    (tmp_path / "raw/b.csv").write_bytes(files["b.csv"] + b"\n")
    outputs = translator(Growing(str(tmp_path / "market.toml"), tmp_path))
    again = translator(FakeContext(str(tmp_path / "market.toml"), tmp_path))

    assert outputs["rows_quarantined_by_reason"] == {"changed_while_read": 3}
    assert (again["rows_in"], again["rows_out"]) == (3, 3)


cell = st.sampled_from(
    ["1", "2.5", "-3", "1e2", ".5", "7.", "+1", " 4", "", "x", "nan", "inf", "1e999", "1_0", '"5"', "0x1"]
)
stamp = st.sampled_from(["20110103 090100", "20110103 090200", "20110103 240000", "2011 103 090100", "", "x"])
line = st.one_of(
    st.tuples(stamp, cell, cell, cell, cell, cell).map(";".join),
    st.sampled_from(["", "  ", ";;;;;", "20110103 090100;1;1;1;1;1;1", "20110103 090100;1;1", "é;1;2;3;4;5"]),
)


@given(st.lists(line, min_size=1, max_size=12), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_the_fast_reading_is_the_careful_one(lines, end, ended):
    """Whatever is in a block, both ways of reading it give the same rows."""
    layout = layout_of("ninjatrader", [])
    content = end.join(lines).encode().replace(b"\r\n", b"\n") + (b"\n" if ended else b"")

    careful = _slow(layout, _lines(content.decode().split("\n"), 1))
    found = read_rows(layout, Block(1, content))

    assert found["line"].to_list() == careful["line"].to_list()
    assert found["parsed"].to_list() == careful["parsed"].to_list()
    assert found.filter("parsed").rows() == careful.filter("parsed").rows()


def test_regular_rows_take_the_fast_way():
    content = b"20110103 090100;1;2;1;2;5\n" * 3

    fast = _fast(layout_of("ninjatrader", []), content, 1)

    assert fast is not None
    assert fast["parsed"].all()
