"Reads settings.ini, the one place for metadata; pyproject.toml says which fields come from here"
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

root = Path(__file__).parent
cfg = ConfigParser()
cfg.read(root/'settings.ini', encoding='utf-8')
cfg = cfg['DEFAULT']
extras = {name: cfg[f'{name}_requirements'].split() for name in
          ('widgets', 'measure', 'ray', 'lm_eval', 'docs', 'dev')}

setup(
    name=cfg['name'],
    version=cfg['version'],
    description=cfg['description'],
    long_description=(root/'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    author=cfg['author'],
    license_expression=cfg['license'],
    license_files=['LICENSE'],
    keywords=cfg['keywords'].split(),
    classifiers=cfg['classifiers'].strip().splitlines(),
    python_requires=f">={cfg['min_python']}",
    install_requires=cfg['requirements'].split(),
    extras_require=extras,
    packages=find_packages(include=['llm_sampling*']),
    package_data={'llm_sampling': ['py.typed', '*.pyi', 'data/*', 'data/sums/*']},
    entry_points={
        'console_scripts': cfg['console_scripts'].split(),
        'nbdev': [f"{cfg['name']}={cfg['name']}._modidx:d"],
    },
)
