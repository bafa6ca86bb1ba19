package consensus

// Hang makes the node's gate believe that a write of the log hangs, or does no more.
func (n *Node) Hang(on bool) {
	if on {
		n.gate.writing.Store(int64(n.cfg.Boot() - n.gate.limit - 1))
	} else {
		n.gate.writing.Store(0)
	}
}

// LoseTail deletes the last entries behind the witness's back.
func LoseTail(s *Store, from uint64) error {
	return s.deleteKeys(from, s.last.Load())
}
