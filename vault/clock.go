package vault

import "time"

// maxStep is by how much the machine's clock may be set while a vault runs.
const maxStep = 10 * time.Second

// A clock is the machine's at the start and goes on by itself: what is set later moves
// no delay, and is noticed.
type clock struct {
	read  func() time.Time
	start time.Time
}

func newClock(read func() time.Time) *clock {
	if read == nil {
		read = time.Now
	}
	return &clock{read, read()}
}

// now returns the time. It is that of the machine but for what it was set by.
func (c *clock) now() time.Time {
	return c.start.Round(0).Add(c.read().Sub(c.start)) // Sub is by the monotonic clock
}

func (c *clock) unix() int64 { return c.now().Unix() }

// stepped returns by how much the machine's clock was set, or 0 if that is bearable.
func (c *clock) stepped() time.Duration {
	now := c.read()
	off := now.Round(0).Sub(c.start.Round(0)) - now.Sub(c.start)
	if off.Abs() <= maxStep {
		return 0
	}
	return off
}
