package outbox

// ArrayLiteral is how AppendSQL hands texts over.
var ArrayLiteral = arrayLiteral
