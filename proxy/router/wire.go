package router

import (
	"encoding/binary"
	"fmt"
)

// The form of a shared payload, integers in big endian:
//
//	version u8 | entries u8 | boot u64 | entries × { id u64 | in flight u16 | ms to first
//	token u16 | tokens a second u16 | error share u8 | flags u8 | cooldown u16 }
//
// The id is FNV-1a of the deployment's id. A payload of another version is dropped.
const (
	wireVersion = 1
	headSize    = 10
	entrySize   = 18
	maxPayload  = 900
	maxEntries  = (maxPayload - headSize) / entrySize
)

// entry is one deployment of a payload.
type entry struct {
	hash   uint64
	report report
}

func encode(boot uint64, entries []entry) []byte {
	b := make([]byte, 0, headSize+len(entries)*entrySize)
	b = append(b, wireVersion, byte(len(entries)))
	b = binary.BigEndian.AppendUint64(b, boot)
	for i := range entries {
		e := &entries[i]
		b = binary.BigEndian.AppendUint64(b, e.hash)
		b = binary.BigEndian.AppendUint16(b, e.report.inFlight)
		b = binary.BigEndian.AppendUint16(b, e.report.ttft)
		b = binary.BigEndian.AppendUint16(b, e.report.tps)
		b = append(b, e.report.errors, e.report.flags)
		b = binary.BigEndian.AppendUint16(b, e.report.rest)
	}
	return b
}

func decode(b []byte) (boot uint64, entries []entry, err error) {
	if len(b) < headSize {
		return 0, nil, fmt.Errorf("payload of %d bytes is cut", len(b))
	}
	if b[0] != wireVersion {
		return 0, nil, fmt.Errorf("payload version %d is not %d", b[0], wireVersion)
	}
	n := int(b[1])
	if n > maxEntries || len(b) != headSize+n*entrySize {
		return 0, nil, fmt.Errorf("payload of %d bytes cannot hold %d entries", len(b), n)
	}
	boot = binary.BigEndian.Uint64(b[2:])
	entries = make([]entry, n)
	for i := range entries {
		p := b[headSize+i*entrySize:]
		entries[i] = entry{binary.BigEndian.Uint64(p), report{
			inFlight: binary.BigEndian.Uint16(p[8:]),
			ttft:     binary.BigEndian.Uint16(p[10:]),
			tps:      binary.BigEndian.Uint16(p[12:]),
			errors:   p[14],
			flags:    p[15],
			rest:     binary.BigEndian.Uint16(p[16:]),
		}}
	}
	return boot, entries, nil
}
