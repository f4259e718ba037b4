ipvsadm -A -u 192.0.2.10:80 -s rr
ipvsadm -a -u 192.0.2.10:80 -r 198.51.100.11:80 -i --tun-type gue --tun-port 6080
ipvsadm -A -u 192.0.2.11:80 -s rr
ipvsadm -a -u 192.0.2.11:80 -r 198.51.100.12:80 -i --tun-type gue --tun-port 6080
ipvsadm -A -u 192.0.2.12:80 -s rr
ipvsadm -a -u 192.0.2.12:80 -r 198.51.100.13:80 -i --tun-type gre --tun-csum
ipvsadm -A -u [2001:db8:1::10]:80 -s rr
ipvsadm -a -u [2001:db8:1::10]:80 -r 198.51.100.11:80 -i --tun-type gue --tun-port 6080
