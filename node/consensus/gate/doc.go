// Package gate takes a leader whose disk or state machine hangs out of office. Gate learns of
// each write of the log (it is the log store's watch) and of each batch of entries (through
// Machine); while one takes too long, Transport holds back what a leader and a candidate
// send, so that the others elect another leader.
package gate
