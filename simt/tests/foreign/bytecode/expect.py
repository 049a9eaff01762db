import math

import numpy as np
from inputs import Case, integers

FIB = [0, 1, 1, 2, 3, 5, 8, 13]
PROGRAMS = [
    [1, 6, 2, 10, 3, 0],  # fibonacci(x & 7) + 10
    [1, 2, 1, 5, 8, 8, 9, 1, 0],  # count down until not positive
    [1, 2, 36, 7, 1, 3, 0],  # table[x & 1](x, 36) + x
    [1, 8, 4, 10, 1, 11, 2, 3, 4, 12],  # ends in an unknown instruction
]


def run(program, x):
    stack, pc, n = [], 0, 0
    while n < 1000:
        op, pc, n = program[pc], pc + 1, n + 1
        if op == 0:
            return stack[-1] if stack else -1, n
        elif op == 1:
            stack.append(x)
        elif op == 2:
            stack.append(program[pc])
            pc += 1
        elif op in (3, 4, 5, 7):
            b, a = stack.pop(), stack.pop()
            if op == 7:
                r = a * a + b * b if x & 1 else math.gcd(a, b)
            else:
                r = {3: a + b, 4: a * b, 5: a - b}[op]
            stack.append(r)
        elif op == 6:
            stack[-1] = FIB[stack[-1] & 7]
        elif op == 8:
            stack.append(stack[-1])
        elif op == 9:
            to, pc = program[pc], pc + 1
            if stack.pop() > 0:
                pc = to
        elif op == 10:
            stack[-1] >>= 1
        elif op == 11:
            stack[-1] ^= stack[-2]
        else:
            return -2, n
    return -3, n


def case():
    c = Case()
    code = np.zeros((4, 20), np.int32)
    for row, p in zip(code, PROGRAMS):
        row[: len(p)] = p
    x = integers(1, 96, 1, 60, np.int32)
    c.given(code=code, input=x)
    results = [run(list(code[i % 4]), int(v)) for i, v in enumerate(x)]
    c.expect("output", np.array([r for r, _ in results], np.int32))
    c.expect("steps", np.array([n for _, n in results], np.int32))
    return c
