"`python -m llm_sampling` is the command `llm-sampling`"
import sys

from llm_sampling.cli import main

if __name__ == '__main__': sys.exit(main())
