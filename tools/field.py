"""Check the table "who has what" of the front page in the sources of the systems

    python tools/field.py transformers=FOLDER vLLM=FOLDER ...   # package folders

Each mark of llm_sampling/data/field.json names a file and a pattern that must be found
there; where a row has no mark for a system, its word must be nowhere in the files that
the system samples with. Prints what does not hold, and what was checked.

A folder is the package in an unpacked wheel (`pip download --no-deps vllm==0.33.0`); of
llama.cpp it is vendor/llama.cpp in the archive of llama-cpp-python."""
import json, re, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FIELD = json.loads((ROOT/'llm_sampling/data/field.json').read_text(encoding='utf-8'))

def found(pattern, folder, globs):
    "The first file of a folder that holds a pattern, or None"
    files = (f for glob in globs for f in sorted(folder.glob(glob)))
    return next((f for f in files if re.search(
        pattern, f.read_text(encoding='utf-8', errors='replace'),
        flags=re.M | re.I)), None)

def wrong(system, folder):
    "What the table says of a system and its sources do not"
    if not folder.is_dir(): raise ValueError(f'{system}: {folder} is no folder')
    for row in FIELD['rows']:
        cell = row['cells'].get(system)
        if cell:
            if not found(cell[1], folder, cell[:1]):
                yield f'{row["what"]}: no {cell[1]!r} in {cell[0]}'
        elif file := found(row['word'], folder, FIELD['systems'][system]['scope']):
            yield f'{row["what"]}: {row["word"]!r} is in {file.relative_to(folder)}'

def main():
    asked = dict(a.split('=', 1) for a in sys.argv[1:])
    if not asked or not asked.keys() <= FIELD['systems'].keys():
        raise SystemExit(f'SYSTEM=FOLDER for some of {", ".join(FIELD["systems"])}')
    said = {s: [*wrong(s, Path(folder))] for s, folder in asked.items()}
    for system, lines in said.items():
        print(system, FIELD['systems'][system]['version'],
              f'{len(FIELD["rows"])} cells', *lines or ['ok'], sep='\n  ')
    return any(said.values())

if __name__ == '__main__': sys.exit(main())
