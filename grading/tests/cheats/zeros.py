# expect: wrong
# Zeros, hoping for a tolerance.
import honest

honest.serve(lambda header, body: honest.zeros(header))
