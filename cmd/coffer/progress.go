package main

import (
	"fmt"
	"io"
	"time"

	"github.com/coffer-backup/coffer/engine"
)

// How often progress is shown: to people, and to programs.
const (
	drawInterval   = 200 * time.Millisecond
	objectInterval = time.Second
)

// progress shows how far a command is, on one line of a terminal that it draws
// again and again.
type progress struct {
	line    io.Writer // nil: no terminal
	drawn   bool
	started time.Time
	last    time.Time
}

type progressObject struct {
	Type        string  `json:"type"`
	PlainBytes  int64   `json:"plain_bytes"`
	SealedBytes int64   `json:"sealed_bytes"`
	TotalBytes  int64   `json:"total_sealed_bytes,omitempty"`
	Seconds     float64 `json:"seconds"`
}

func (p *progress) start() { p.started = time.Now() }

// due reports whether it is time to show something again.
func (p *progress) due(json bool) bool {
	interval := drawInterval
	if json {
		interval = objectInterval
	}
	now := time.Now()
	if now.Sub(p.last) < interval {
		return false
	}
	p.last = now
	return true
}

func (p *progress) object(e engine.Progress, total int64) progressObject {
	return progressObject{"progress", e.Plain, e.Sealed, total, time.Since(p.started).Seconds()}
}

func (p *progress) draw(e engine.Progress, total int64) {
	percent := ""
	if total > 0 {
		percent = fmt.Sprintf("%3d %%  ", 100*min(e.Sealed, total)/total)
	}
	speed := float64(e.Plain) / max(time.Since(p.started).Seconds(), 0.001)
	fmt.Fprintf(p.line, "\r\x1b[K%s%s plain  %s sealed  %s/s", percent, byteCount(e.Plain), byteCount(e.Sealed), byteCount(int64(speed)))
	p.drawn = true
}

func (p *progress) clear() {
	if p.drawn {
		fmt.Fprint(p.line, "\r\x1b[K")
		p.drawn = false
	}
}
