"""What a list of neutral events comes to at a moment, by going through it from the start."""

from collections.abc import Iterable

from recordings_to_lerobot.importers.neutral import InputEvent


def replay(events: Iterable[InputEvent], until_ns: int) -> dict:
    """What is held, where the cursor is, and the sums of movements, from all events before a moment."""
    keys, buttons, position = set(), set(), None
    moved, wheel = [0.0, 0.0], [0.0, 0.0]
    for event in sorted(events, key=lambda event: event.ns):
        if event.ns >= until_ns:
            break
        match event.kind:
            case "keydown" | "keyup":
                (keys.add if event.kind == "keydown" else keys.discard)(event.vk)
            case "buttondown" | "buttonup":
                (buttons.add if event.kind == "buttondown" else buttons.discard)(event.button)
            case "mousemove":
                position = (event.x, event.y)
            case "mousedelta":
                moved = [moved[0] + event.dx, moved[1] + event.dy]
            case "wheel":
                wheel = [wheel[0] + event.dx, wheel[1] + event.dy]
    return {"keys": keys, "buttons": buttons, "position": position, "moved": moved, "wheel": wheel}
