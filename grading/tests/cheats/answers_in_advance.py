# expect: cheat
# Two answers to one question, the second for the next one.
import honest

while True:
    header, body = honest.request()
    message = honest.answer(header, honest.softmax_topk(header, body))
    honest.write(message + message)
