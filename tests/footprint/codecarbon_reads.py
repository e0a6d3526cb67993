"""Has CodeCarbon read and continue the emissions.csv of tamis, and measures a process beside tamis.

    python3 tests/footprint/codecarbon_reads.py --tool-folder FOLDER
    python3 tests/footprint/codecarbon_reads.py --tool-folder FOLDER --parity OUT -- COMMAND...

Installs `codecarbon` from PyPI into the virtual environment FOLDER if that is not there. Needs no network after that.

Without a command: tests/fixtures/footprint/codecarbon/emissions.csv, which a test of tamis compares with what it writes, must have
the columns of CodeCarbon's own record in its order, be accepted by `FileOutput.has_valid_headers`, and get a row of
CodeCarbon at its end without being put away. So must absent.csv, of a run whose processor has no meter: what is not known there is
an empty cell, which is read as no number, and not as 0. The file of tasks must have the columns of its record of tasks, and boamps.json
no key that its records of BoAmps lack.

With a command: runs it as a child while CodeCarbon tracks this process and its children, with 4 W for each thread. The command
uses the CPU for 10 seconds or more and leaves OUT, an emissions.csv made with the method `codecarbon-compat` for an unknown
processor. Energies of the processor must be within 5 %, or 20 ms of one thread.
"""

import argparse
import csv
import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "footprint" / "codecarbon"
VERSION = "3.3.2"
WATTS_PER_THREAD = 4.0


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool-folder", type=pathlib.Path, required=True, help="virtual environment of CodeCarbon, made if missing")
    parser.add_argument("--parity", type=pathlib.Path, metavar="OUT", help="the emissions.csv that the command leaves")
    parser.add_argument("command", nargs="*", help="after --: the command to measure")
    return parser.parse_args()


def run_inside(folder):
    """Runs this script again with the Python that CodeCarbon is installed into."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", f"codecarbon=={VERSION}"], check=True)
    if pathlib.Path(sys.prefix).resolve() != folder.resolve():
        os.execv(python, [str(python), *sys.argv])


def record(kind, values):
    """A record of CodeCarbon from strings: numbers where it wants numbers."""
    fields = {field.name: field.type for field in dataclasses.fields(kind)}
    return kind(**{name: float(text or 0) if fields[name] is float else text for name, text in values.items()})


def check_acceptance():
    import pandas
    from codecarbon.output_methods.emissions_data import EmissionsData, TaskEmissionsData
    from codecarbon.output_methods.file import FileOutput

    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        ours = folder / "emissions.csv"
        shutil.copy(FIXTURES / "emissions.csv", ours)
        before = ours.read_bytes()
        header, *rows = csv.reader(before.decode().splitlines())
        wanted = [field.name for field in dataclasses.fields(EmissionsData)]
        assert header == wanted, f"columns differ: {header} instead of {wanted}"

        total = record(EmissionsData, dict(zip(header, rows[0], strict=True)))
        total.run_id = "written by CodeCarbon"
        output = FileOutput("emissions.csv", str(folder))
        assert output.has_valid_headers(total) is True, "CodeCarbon does not accept the columns"
        output.out(total, None)
        assert sorted(path.name for path in folder.iterdir()) == ["emissions.csv"], "CodeCarbon put the file away"
        after = ours.read_bytes()
        assert after.startswith(before), "CodeCarbon changed rows of ours"
        table = pandas.read_csv(ours)
        assert len(table) == len(rows) + 1 and table.run_id.iloc[-1] == "written by CodeCarbon", table
        parts = table.cpu_energy + table.gpu_energy + table.ram_energy
        assert ((parts - table.energy_consumed).abs() < 1e-12).all(), "parts do not add up"
        for column in ("duration", "emissions", "energy_consumed", "cpu_count", "ram_total_size", "pue"):
            assert pandas.api.types.is_numeric_dtype(table[column]), f"{column} is no number"

        # That the check can fail: one column more, and the file is put away.
        more = folder / "more.csv"
        more.write_text(before.decode().replace("wue\n", "wue,label\n", 1))
        assert FileOutput("more.csv", str(folder)).has_valid_headers(total) is False

    check_absent()
    tasks = csv.reader((FIXTURES / "tasks.csv").read_text().splitlines())
    wanted = [field.name for field in dataclasses.fields(TaskEmissionsData)]
    assert next(tasks) == wanted, "columns of tasks differ"

    from codecarbon.output_methods.boamps.models import BoAmpsReport

    # Its records take no key that the schema of BoAmps lacks.
    boamps = json.loads((FIXTURES / "boamps.json").read_text())
    assert BoAmpsReport.from_dict(boamps).to_dict() == boamps, "BoAmps: keys are lost"
    print(f"CodeCarbon {VERSION} accepts {len(header)} columns, keeps {len(rows)} rows and adds one; and the keys of BoAmps")


def check_absent():
    import pandas
    from codecarbon.output_methods.emissions_data import EmissionsData
    from codecarbon.output_methods.file import FileOutput

    with tempfile.TemporaryDirectory() as folder:
        ours = pathlib.Path(folder) / "emissions.csv"
        shutil.copy(FIXTURES / "absent.csv", ours)
        header, row = csv.reader(ours.read_text().splitlines())
        theirs = record(EmissionsData, dict(zip(header, row, strict=True)))
        theirs.run_id = "written by CodeCarbon"
        # Both ways that it has of writing: the second reads the whole file.
        for way in ("append", "update"):
            output = FileOutput("emissions.csv", folder, on_csv_write=way)
            assert output.has_valid_headers(theirs) is True, "CodeCarbon does not accept the columns"
            output.out(theirs, None)
        table = pandas.read_csv(ours)
        for column in ("cpu_energy", "energy_consumed", "emissions", "water_consumed", "ram_total_size"):
            assert pandas.api.types.is_numeric_dtype(table[column]), f"{column} is no number"
            assert pandas.isna(table[column].iloc[0]), f"{column} is {table[column].iloc[0]}, and it is not known"
        assert table.ram_energy.iloc[0] > 0, table
        assert list(table.run_id)[0] == "one" and set(table.run_id) == {"one", "written by CodeCarbon"}, table


def check_parity(out, command):
    from codecarbon import OfflineEmissionsTracker

    threads = os.cpu_count()
    with tempfile.TemporaryDirectory() as folder:
        tracker = OfflineEmissionsTracker(
            country_iso_code="FRA",
            tracking_mode="process",
            force_cpu_power=WATTS_PER_THREAD * threads,
            # What a child used after the last sample before it ended is lost to CodeCarbon: 8 % of 12 seconds with a sample a second.
            measure_power_secs=0.2,
            output_dir=folder,
            log_level="error",
            allow_multiple_runs=True,
        )
        tracker.start()
        child = subprocess.run(command, check=True)
        tracker.stop()
        assert child.returncode == 0
        theirs_j = tracker.final_emissions_data.cpu_energy * 3.6e6
    with out.open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    ours_j = float(last["cpu_energy"]) * 3.6e6 / float(last["pue"])
    allowed_j = max(0.05 * theirs_j, 0.020 * WATTS_PER_THREAD)
    print(f"processor: CodeCarbon {theirs_j:.2f} J, tamis {ours_j:.2f} J, {100 * (ours_j / theirs_j - 1):+.1f} %")
    assert abs(ours_j - theirs_j) <= allowed_j, f"they differ by more than {allowed_j:.2f} J"
    ratio = float(last["emissions"]) / float(last["energy_consumed"])
    print(f"emissions over energy: {ratio:.5f} kg/kWh")


def main():
    options = arguments()
    run_inside(options.tool_folder)
    if options.parity is None:
        check_acceptance()
    else:
        check_parity(options.parity, options.command)


if __name__ == "__main__":
    main()
