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

// KeepNoLogs makes the next snapshot drop all entries but the last few.
func (n *Node) KeepNoLogs() error {
	rc := n.raft.ReloadableConfig()
	rc.TrailingLogs = 2
	return n.raft.ReloadConfig(rc)
}

// FirstLog is the first entry that the log still has.
func (n *Node) FirstLog() uint64 {
	first, _ := n.store.FirstIndex()
	return first
}
