package build

import "bytes"

// A Container is a file in its parts. Bytes joins them, as they are.
type Container struct {
	Head     []byte
	Packages [][]byte
	Tail     []byte
	After    []byte // what follows the container

	Keys Keys
}

// Bytes returns the file.
func (c *Container) Bytes() []byte {
	return bytes.Join([][]byte{c.Head, bytes.Join(c.Packages, nil), c.Tail, c.After}, nil)
}

// EditHeader changes both copies alike and authenticates them again.
func (c *Container) EditHeader(edit func(block []byte)) {
	c.EditCopy(&c.Head, edit)
	c.EditCopy(&c.Tail, edit)
}

// EditCopy is EditHeader for one copy.
func (c *Container) EditCopy(block *[]byte, edit func(block []byte)) {
	b := bytes.Clone(*block)
	edit(b)
	Reseal(b, c.Keys.MACKey)
	*block = b
}

// A Recipe is what a container is made from.
type Recipe struct {
	Header  Header // without ContextTag, and with entries only if Slots is nil
	FileKey []byte
	Context []byte
	// Slots makes the entries, bound to core.
	Slots   func(core []byte) []Entry
	Content []byte
}

// Build makes the container.
func (r *Recipe) Build() *Container {
	h := r.Header
	if len(r.Context) > 0 {
		h.Flags |= 1
		h.ContextTag = [16]byte(Derive(r.FileKey, h.Salt[:], nil, r.Context).ContextTag)
	}
	bare := h
	bare.Entries = nil // CORE does not have them, and they need not fit
	core := bare.Core()
	if r.Slots != nil {
		h.Entries = r.Slots(core)
	}
	k := Derive(r.FileKey, h.Salt[:], core, r.Context)
	head := h.Encode(k.MACKey)
	return &Container{
		Head:     head,
		Packages: Seal(h.Suite, k.BodyKey, k.Nonce, r.Content),
		Tail:     bytes.Clone(head),
		Keys:     k,
	}
}
