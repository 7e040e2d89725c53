// Outcrier, Apache-2.0
function o(n){let{exp:a,iat:l=0}=JSON.parse(atob(n.split(".")[1].replace(/-/g,"+").replace(/_/g,"/"))),t=1e3*(a-l),e=1e3*a-Date.now();return(e<0||e>t)&&(e=t),Date.now()+Math.max(e/2,e-3e4,Math.min(t/2,1e4))}export{o as renewal};
