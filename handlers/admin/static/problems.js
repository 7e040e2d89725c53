// What the server says of a problem is in English. These are its sentences in Chinese; one
// that is not among them is shown as it came.
import { current } from './words.js';

const chinese = [
  [/^the database is not available$/, '数据库不可用'],
  [/^the database did not answer in time: ask for less, or later$/, '数据库没有及时应答，请缩小范围或稍后再试'],
  [/^the schema is older than this server: run outcrier migrate up$/, '数据库结构比服务器旧，请运行 outcrier migrate up'],
  [/^the revoked tokens are not known yet: the database has not answered$/, '数据库尚未应答，还不知道哪些令牌已被撤销'],
  [/^the keys to verify tokens are not available$/, '暂时取不到验证令牌的密钥'],
  [/^the server is being stopped$/, '服务器正在停止'],
  [/^no way to authenticate requests is configured$/, '服务器没有配置身份验证方式'],
  [/^the admin grant (.+) is needed, and not granted$/, '需要管理权限 $1，但令牌没有'],
  [/^a token is needed(, in Authorization)?$/, '需要令牌'],
  [/^the token has expired$/, '令牌已过期'],
  [/^the token was revoked$/, '令牌已被撤销'],
  [/^the session has ended$/, '会话已结束'],
  [/^the key that signed the token was withdrawn$/, '签发令牌的密钥已被撤回'],
  [/^the token is not valid yet: nbf is in the future$/, '令牌尚未生效'],
  [/^the token is not .+$/, '这不是格式正确的 JWT'],
  [/^the token (?:does not have .+|is encrypted .+|is longer .+)$/, '这不是格式正确的 JWT'],
  [/^the token's (?:header|typ|kid) .+$/, '这不是格式正确的 JWT'],
  [/^the token's signature is wrong$/, '令牌的签名不正确'],
  [/^the token's alg is not supported; .+$/, '不支持令牌的 alg'],
  [/^no key that is trusted here is for the token's kid and alg$/, '服务器信任的密钥中没有与令牌的 kid 和 alg 对应的'],
  [/^iss is not the issuer that is trusted here$/, '服务器不信任令牌的签发方（iss）'],
  [/^aud .+$/, '令牌不是签发给此服务器的（aud）'],
  [/^iat is in the future$/, '令牌的签发时间（iat）在将来'],
  [/^the token has (\d+) bytes, a cookie can have (\d+)$/, '令牌有 $1 字节，Cookie 最多 $2 字节'],
  [/^the browser would drop the cookie.+$/, '浏览器不会接受跨站 Cookie'],
  [/^the request was made by a page of another site, .+$/, '请求来自未被允许的其他站点'],
  [/^no event (\d+) is held: it was never committed, was erased, or is past retention$/, '没有保留事件 $1：它从未提交、已被抹除，或已过保留期'],
  [/^nothing was done: the request could not be put on record$/, '请求无法记录，因此未执行'],
  [/^the client left before the answer$/, '客户端在应答前已离开'],
  [/^the server failed$/, '服务器出错'],
  [/^the answer broke off$/, '应答中断'],
  [/^no such stream is open$/, '该连接已不在打开状态'],
  [/^no such event is scheduled: it was delivered or cancelled before$/, '该定时事件不存在：已投递或已取消'],
  [/^a type can't be renamed: type must be that of the path$/, '类型不能改名'],
  [/^updated_at must be given, as it was read$/, '缺少读取时的 updated_at'],
  [/^the type of the path is not well-formed$/, '类型格式不正确'],
  [/^the body is empty.*$/, '请求没有内容'],
  [/^the body is not UTF-8$/, '内容不是 UTF-8'],
  [/^the body could not be read$/, '内容无法读取'],
  [/^the body may have at most (\d+) bytes$/, '内容最多 $1 字节'],
  [/^JSON nests deeper than \d+ levels: a payload may have (\d+)$/, 'JSON 嵌套过深，最多 $1 层'],
  [/^subject(?: and event)? must be given$/, '缺少主体或事件'],
  [/^the query is not well-formed: .+$/, '查询格式不正确'],
  [/^(\w+) must be a whole number, not .+$/, '$1 必须是整数'],
  [/^(\w+) must be an RFC 3339 time like .+$/, '$1 必须是 RFC 3339 时间'],
  [/^invalid cursor: .+$/, '翻页标记无效，请从第一页重新开始'],
  [/^topic (".*"): .+$/, '主题 $1 不符合规则：各段以 / 分隔，* 匹配一段，末尾的 ** 匹配其余部分'],
  [/^type (".*"): .+$/, '类型 $1 不符合规则：可以精确填写，或以 * 结尾'],
];

// inWords is what the server said, in the language of the page where it is known.
export function inWords(detail) {
  if (current() !== 'zh') return detail;
  for (const [pattern, text] of chinese) if (pattern.test(detail)) return detail.replace(pattern, text);
  return detail;
}
