// Package nodetest runs clusters inside a test: real nodes with their cluster port, Raft,
// journal and client port on loopback, in one process, and a fake upstream that keeps the
// true bill. Nodes can be stopped, killed, started again, and cut off from one another.
//
//	c := nodetest.Start(t, 3)
//	_, secret := c.Key(0, nodetest.Fields{"name": "k"})
//	c.Nodes[1].Cut()                         // a minority of one
//	status, body := c.Chat(1, secret)
//
// Everything is stopped when the test ends. A node that ends itself fails the test. Await
// waits on a condition; nothing sleeps for a fixed time.
package nodetest
