/**
 * The topics of an argument, which may be a single one, or none.
 *
 * @param {string | readonly string[]} [topics]
 * @returns {string[]}
 */
export const listed = (topics = []) => /** @type {string[]} */ ([topics].flat());
