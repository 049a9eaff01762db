# expect: crash
import wire

wire.request()
raise ValueError("a mistake of the program")
