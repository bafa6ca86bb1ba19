//go:build conclave_next

package fsm

// Version is that of the program to come: a program that is built with the tag conclave_next is
// the other half of a cluster that runs two versions mixed, for tests of upgrades.
const Version uint32 = 2

// KindDropJoinTokenNext is the kind of a command that only the program to come knows.
const KindDropJoinTokenNext Kind = 264

// DropJoinTokenNext is DropJoinToken as the program to come says it: what it revokes waits, as
// all that is new does, until the cluster's version is raised.
type DropJoinTokenNext struct{ DropJoinToken }

// comingRows are the commands of the version to come.
var comingRows = []row{
	rowOf[DropJoinTokenNext](KindDropJoinTokenNext, "drop_join_token", 2, byNode|byAdmin, alone),
}

// newest gives the newest form of a command.
func newest(cmd Command) Command {
	if c, ok := cmd.(DropJoinToken); ok {
		return DropJoinTokenNext{c}
	}
	return cmd
}
