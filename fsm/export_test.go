package fsm

import (
	"encoding/binary"
	"errors"
)

// Forge gives an entry another kind and a right checksum.
func Forge(b []byte, kind Kind) []byte {
	binary.BigEndian.PutUint16(b[2:], uint16(kind))
	binary.BigEndian.PutUint32(b[8:], entryCRC(b))
	return b
}

// TableLen is the number of kinds.
func TableLen() int { return len(table) + 1 }

// ItemsAreAdmins says that every kind that may stand in a Batch asks for what a Batch does.
func ItemsAreAdmins() bool {
	for _, r := range table {
		if r.item && r.who != batchRow.who {
			return false
		}
	}
	return true
}

// Shrink replaces the file with a compacted copy whatever its size.
func Shrink(dir, name string) error {
	db, err := openFile(dir + "/" + fileName)
	if err != nil {
		return err
	}
	return errors.Join(shrinkTo(db, dir+"/"+name), db.Close())
}

// LeasesOf is Leases for any node.
func (f *FSM) LeasesOf(node string) []Lease {
	g := &FSM{cfg: Config{NodeID: node}, db: f.db}
	g.nodes.Store(f.nodes.Load())
	return g.Leases()
}
