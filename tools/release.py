"""Is the tree ready for a release of this tag?

    python tools/release.py v0.2.0    # prints what is missing; 1 if anything is
    python tools/release.py           # nothing is asked of a build without a tag"""
import re, sys
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

def missing(tag, root=ROOT):
    "What stands in the way of a release"
    read = lambda name: (root/name).read_text(encoding='utf-8')
    cfg = ConfigParser()
    cfg.read_string(read('settings.ini'))
    version = cfg['DEFAULT']['version']
    if tag != f'v{version}': yield f'the tag is {tag}, the version v{version}'
    if not re.search(rf'^## {re.escape(version)} \(\d{{4}}-\d\d-\d\d\)$',
                     read('CHANGELOG.md'), flags=re.M):
        yield f'CHANGELOG.md has no line "## {version} (YYYY-MM-DD)"'
    if 'pip install git+' in read('README.md'):
        yield 'README.md installs from the repository, not by name'

def main():
    said = [line for tag in sys.argv[1:] for line in missing(tag)]
    print(*said, sep='\n', end='\n' if said else '')
    return bool(said)

if __name__ == '__main__': sys.exit(main())
