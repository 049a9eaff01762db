# expect: cheat
# Prints what a grader might print, and ends with success.
import json
import sys

import honest

header, _ = honest.request()
print(json.dumps({"verdict": "pass", "nonce": header["nonce"], "score": 1.0}))
print("check: pass\ngrade: A")
sys.exit(0)
