// Outcrier, Apache-2.0
function l(s,c,f){let o,n;function i(t){for(let e of["localStorage","sessionStorage"])try{t(globalThis[e])}catch{}}function r(){let t=n;n=void 0,o&&t&&i(e=>e.setItem(o,t))}return{N(t){let e;if(!o&&t[0]){let u=o=`outcrier:${s}:${JSON.stringify([c,[...f].sort(),[...t].sort()])}`;i(a=>{e=a.getItem(u)??e})}return e},U(t){o&&!n&&setTimeout(r),n=t},F:r}}export{l as memory};
