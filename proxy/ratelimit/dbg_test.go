package ratelimit
import ("testing";"os";"fmt";"strconv")
var dbg bool
func TestDbg(t *testing.T){ n,_:=strconv.Atoi(os.Getenv("SEED")); dbg=true; fmt.Println(schedule(uint64(n))) }
