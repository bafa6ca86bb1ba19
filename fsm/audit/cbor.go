package audit

// The major types of CBOR (RFC 8949 §3.1).
const (
	cborUint  = 0
	cborNint  = 1
	cborBytes = 2
	cborText  = 3
	cborArray = 4
	cborMap   = 5
	cborOther = 7 // without an item behind its head
)

// maxDepth is how deep items are nested at most; the decoder of records takes no more.
const maxDepth = 32

// reader walks over CBOR of definite lengths. The first surprise makes it bad, and empty.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) fail() uint64 {
	r.bad, r.rest = true, nil
	return 0
}

// head reads the head of an item: its major type and its argument.
func (r *reader) head() (major int, arg uint64) {
	if len(r.rest) == 0 {
		return -1, r.fail()
	}
	first := r.rest[0]
	major, r.rest = int(first>>5), r.rest[1:]
	info := first & 31
	if info < 24 {
		return major, uint64(info)
	}
	n := 1 << (info - 24)
	if info > 27 || len(r.rest) < n {
		return -1, r.fail()
	}
	for _, b := range r.rest[:n] {
		arg = arg<<8 | uint64(b)
	}
	r.rest = r.rest[n:]
	return major, arg
}

// want reads the head of an item of the type and returns its argument, 0 for another type.
func (r *reader) want(major int) uint64 {
	got, arg := r.head()
	if got != major || (major >= cborBytes && arg > uint64(len(r.rest))) { // every item has a byte
		return r.fail()
	}
	return arg
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.fail()
		return nil
	}
	part := r.rest[:n]
	r.rest = r.rest[n:]
	return part
}

func (r *reader) text() []byte { return r.take(r.want(cborText)) }

// item reads one item of any type, whole.
func (r *reader) item() []byte {
	from := r.rest
	r.skip(0)
	if r.bad {
		return nil
	}
	return from[:len(from)-len(r.rest)]
}

func (r *reader) skip(depth int) {
	major, arg := r.head()
	if depth > maxDepth || (arg > uint64(len(r.rest)) && major >= cborBytes && major <= cborMap) {
		r.fail()
		return
	}
	switch major {
	case cborBytes, cborText:
		r.take(arg)
	case cborMap:
		arg *= 2
		fallthrough
	case cborArray:
		for i := uint64(0); i < arg && !r.bad; i++ {
			r.skip(depth + 1)
		}
	}
}

// appendHead writes the head of an item, as short as it can be.
func appendHead(b []byte, major int, arg uint64) []byte {
	first := byte(major << 5)
	switch {
	case arg < 24:
		return append(b, first|byte(arg))
	case arg < 1<<8:
		return append(b, first|24, byte(arg))
	case arg < 1<<16:
		return append(b, first|25, byte(arg>>8), byte(arg))
	case arg < 1<<32:
		return append(b, first|26, byte(arg>>24), byte(arg>>16), byte(arg>>8), byte(arg))
	default:
		b = append(b, first|27)
		for shift := 56; shift >= 0; shift -= 8 {
			b = append(b, byte(arg>>shift))
		}
		return b
	}
}
