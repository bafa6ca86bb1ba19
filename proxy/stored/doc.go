// Package stored makes OpenAI's responses remember: a turn that is stored can be continued with
// "previous_response_id", read and deleted, whatever provider answered it and whichever node is
// asked.
//
// The request that names an earlier turn is made whole first (Open): the inputs and answers of
// the turns before stand in front of its input, so that estimates, guardrails and every
// provider see the conversation. The answer gets an id of the gateway's own (Stream, Whole) and
// is stored before its last byte leaves (Keep). Where OpenAI itself has kept the turn before, and
// the same account is asked, its own id stands for what came before (Native): reasoning that it
// does not give out is then not lost.
//
// Who may see a turn: the key that made it, another key of the same user, or, where it belongs
// to no user, another key of the same team. To everybody else it does not exist.
package stored
