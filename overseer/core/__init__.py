"""Pure decisions: no Twisted, no clock, no file, no random source."""
