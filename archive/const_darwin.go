package archive

import "golang.org/x/sys/unix"

const openFlags = unix.O_NONBLOCK

const errNoXattr = unix.ENOATTR

const emptyPath = 0
