package archive

import "golang.org/x/sys/unix"

// openFlags spare new files their registration with the network poller, and let
// them pass 2 GiB on 32-bit systems, which os.Root.OpenFile forgets.
const openFlags = unix.O_NONBLOCK | unix.O_LARGEFILE

const errNoXattr = unix.ENODATA

// emptyPath has a call work on the descriptor itself, where that is possible.
const emptyPath = unix.AT_EMPTY_PATH
