"""What the tests share: a clock moved by hand, a scripted vendor, a raw app, a real process, certificates."""
