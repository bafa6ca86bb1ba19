package gate

import "github.com/hashicorp/raft"

// maxMessage bounds the entries of one message. Raft bounds their number only: 256 large ones
// would have to cross the network and reach the follower's disk within one time-out, and a
// follower that is behind by them would never catch up.
const maxMessage = 4 << 20

// fit shortens a message to what may be sent at once, at least one entry. Raft looks at the
// message to see how far it went and sends the rest next.
func fit(args *raft.AppendEntriesRequest) {
	size := 0
	for i, l := range args.Entries {
		size += len(l.Data) + len(l.Extensions)
		if i > 0 && size > maxMessage {
			args.Entries = args.Entries[:i]
			args.LeaderCommitIndex = min(args.LeaderCommitIndex, args.Entries[i-1].Index)
			return
		}
	}
}
