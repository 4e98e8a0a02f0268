"""A game of one window: it draws, and writes down when it gets which input.

python x_game.py TITLE LEFT TOP WIDTH HEIGHT
"""

import json
import sys
import time

from Xlib import X
from Xlib.display import Display

title, (left, top, width, height) = sys.argv[1], map(int, sys.argv[2:])
display = Display()
screen = display.screen()
window = screen.root.create_window(
    left, top, width, height, 0, screen.root_depth, background_pixel=0x204060,
    event_mask=X.KeyPressMask | X.KeyReleaseMask | X.ButtonPressMask | X.ButtonReleaseMask | X.PointerMotionMask,
)  # fmt: skip
window.set_wm_name(title)
window.map()
display.sync()
window.set_input_focus(X.RevertToParent, X.CurrentTime)
red = window.create_gc(foreground=0xC03020)
window.fill_rectangle(red, 0, 0, width // 2, height // 2)
display.sync()
print(json.dumps({"kind": "ready"}), flush=True)
while True:
    event = display.next_event()
    if event.type == X.MappingNotify:
        continue
    kind = {X.KeyPress: "keydown", X.KeyRelease: "keyup", X.ButtonPress: "down", X.ButtonRelease: "up"}.get(event.type)
    said = {"kind": kind or "move", "s": time.monotonic(), "x": event.event_x, "y": event.event_y}
    if kind and kind.startswith("key"):
        said["keysym"] = display.keycode_to_keysym(event.detail, 0)
    elif kind:
        said["button"] = event.detail
    print(json.dumps(said), flush=True)
