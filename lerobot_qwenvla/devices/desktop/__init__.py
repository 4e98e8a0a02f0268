"""The desktop's own screen, mouse and keyboard. pynput and mss (`pip install 'lerobot_policy_qwenvla[desktop]'`) are
imported only where they are used: both fail where there is no display."""
