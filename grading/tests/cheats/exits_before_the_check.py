# expect: cheat
# Ends with success while an answer is owed.
import sys

import honest

honest.request()
sys.exit(0)
