"""Whether a recording is large enough, from what held-out episodes gain as whole episodes are added."""
