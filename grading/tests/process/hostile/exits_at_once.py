# expect: cheat
