// Package realtime relays a session of OpenAI's Realtime API between a client's WebSocket and a
// provider's. A session is many requests in one connection: each response, and each transcription
// of what the user says, is a Use of its own, with its own reservation in limits and budgets, its
// own guardrails and its own record in the journal.
//
//	session.go   a session's life: two pumps, timers, and how it ends
//	client.go    what a client's event may do, and what it needs before it goes to the provider
//	provider.go  what a provider's event means: a use begins, says something, ends
//	uses.go      uses: held, sent, open, settled
//	response.go  an open response, held back until guardrails have passed it
//	meter.go     how large the conversation is, for estimates
//	event.go     reading and changing events
//	secret.go    secrets that pages use in the place of a key
//
// Nothing that can make the provider work goes to it before a Use is held. A provider that begins a
// response by itself (it hears the user stop) finds the one that the audio before was held for;
// where there is none, one is made then, and if that is refused the response is cancelled and
// what it cost is booked as owed.
//
// What is sent back-pressures: a message is read when the one before has been written.
package realtime
