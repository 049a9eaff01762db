# expect: cheat
# Answers with a nonce that is not the call's.
import honest

while True:
    header, body = honest.request()
    honest.write(honest.answer(header, honest.zeros(header), nonce="0" * 32))
