"""QwenVLA: a vision-language-action policy for LeRobot that sees a screen and uses mouse and keyboard."""
