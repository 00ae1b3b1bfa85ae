package httpapi

import (
	"net"
	"net/netip"
	"sync"
)

// The most that there are of connections and of calls at a time, at all and from one
// block of addresses, which one person can have: a /24, or a /48 of IPv6.
const (
	defaultMax      = 4096
	defaultPerBlock = 64
)

// A crowd counts those that are in by their blocks of addresses.
type crowd struct {
	max, perBlock int

	mu     sync.Mutex
	in     int
	blocks map[netip.Prefix]int
}

func newCrowd(max, perBlock int) *crowd {
	if max <= 0 {
		max = defaultMax
	}
	if perBlock <= 0 {
		perBlock = defaultPerBlock
	}
	return &crowd{max: max, perBlock: perBlock, blocks: make(map[netip.Prefix]int)}
}

// enter reports whether there is room for one more from block. If so, leave has to
// follow.
func (c *crowd) enter(block netip.Prefix) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.in >= c.max || block.IsValid() && c.blocks[block] >= c.perBlock {
		return false
	}
	c.in++
	if block.IsValid() {
		c.blocks[block]++
	}
	return true
}

func (c *crowd) leave(block netip.Prefix) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.in--
	switch n := c.blocks[block]; {
	case n > 1:
		c.blocks[block] = n - 1
	default:
		delete(c.blocks, block)
	}
}

// blockOf returns the block that address, "HOST:PORT", is in. What is no address, as
// that of a Unix socket, is in none.
func blockOf(address string) netip.Prefix {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return netip.Prefix{}
	}
	addr, bits := at.Addr().Unmap().WithZone(""), 48
	if addr.Is4() {
		bits = 24
	}
	block, err := addr.Prefix(bits)
	if err != nil {
		panic("httpapi: internal error: " + err.Error()) // only for more bits than there are
	}
	return block
}

// A limitedListener closes connections for which there is no room, so that those of
// others are accepted.
type limitedListener struct {
	net.Listener
	crowd *crowd
	log   *throttle
}

func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		block := blockOf(conn.RemoteAddr().String())
		if l.crowd.enter(block) {
			return &limitedConn{Conn: conn, leave: func() { l.crowd.leave(block) }}, nil
		}
		l.log.warn("too many connections", "remote", conn.RemoteAddr())
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // the kernel keeps nothing of it
		}
		_ = conn.Close()
	}
}

// A limitedConn gives its place back once.
type limitedConn struct {
	net.Conn
	once  sync.Once
	leave func()
}

func (c *limitedConn) Close() error {
	defer c.once.Do(c.leave)
	return c.Conn.Close()
}
