//go:build !conclave_next

package fsm

// Version is the newest state machine that this program knows: the number that a member
// registers and the highest that an entry may ask for.
const Version uint32 = 1

// comingRows are the commands of the version to come, which version_next.go has.
var comingRows []row

// newest gives the newest form of a command.
func newest(cmd Command) Command { return cmd }
